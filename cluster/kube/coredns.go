package main

import (
	"flag"
	"strings"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	// The plugins that a cluster's DNS needs, of CoreDNS' fifty.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

// runCoreDNS registers the order of the plugins, which CoreDNS otherwise generates, and runs it.
func runCoreDNS() {
	dnsserver.Directives = []string{"bind", "health", "ready", "errors", "cache", "kubernetes", "forward"}
	coremain.Run()
}

// forgetCoreDNSFlags drops what CoreDNS puts into the process's global flags when it is linked in, for the other
// components add those to their own: kube-proxy would lose its --version.
func forgetCoreDNSFlags() {
	ofCoreDNS := map[string]bool{"conf": true, "plugins": true, "pidfile": true, "version": true, "quiet": true, "p": true}
	kept := flag.NewFlagSet(flag.CommandLine.Name(), flag.ExitOnError)
	flag.VisitAll(func(f *flag.Flag) {
		if !ofCoreDNS[f.Name] && !strings.HasPrefix(f.Name, "dns.") {
			kept.Var(f.Value, f.Name, f.Usage)
		}
	})
	flag.CommandLine = kept
}
