"""A whole real Kubernetes on one machine, for `./demo` and the tests.

The components are the upstream ones, built once into a cache (`build`) and run as plain processes: a control plane
(`control_plane`) and one node (`node`). Nothing of it is part of the distribution.

Layers, each importing only from those above it:

    errors, places, shell, processes     names, paths, commands, daemons
    build, certificates, ports           what is made before anything runs
    control_plane, network, containers   usable each alone
    dns, node                            what makes a node of them
    images, daemons                      Docker's side: the project's images; dockerd and libvirtd
    embedded                             up, down, status, lease

`walkthrough` is `./demo`, and `run_tests` is `./test`.
"""
