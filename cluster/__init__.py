"""A whole real Kubernetes on one machine, for `./demo` and the tests.

The components are the upstream ones, built once into a cache (`components.build`) and run as plain processes: a control
plane (`components.control_plane`) and one node (`components.node`). Nothing of it is part of the distribution.

Layers, each importing only from those above it:

    errors, places, progress
    machine       what is done on this machine: commands, processes, ports, the network, dockerd and libvirtd
    components    the parts of the cluster, and their images; `terminal` shows what happens
    embedded      up, down, status, lease; `external` is a cluster of the user's instead
    walkthrough   ./demo; `run_tests` is ./test
"""
