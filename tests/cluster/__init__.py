"""A real two-node Kubernetes on one machine: no Docker, no registry, nothing left behind.

What belongs here: building Kubernetes once, nodes made of namespaces and cgroups, the control
plane,
kubectl for tests, the client outside. What never does: anything about Wangell; tests/e2e brings
that.

    with Cluster.start() as cluster:
        cluster.apply(manifest)
        cluster.wait_for("deployment/hello", "condition=Available")
        cluster.announce("10.200.1.7", node="node1")
        print(cluster.client.curl("http://10.200.1.7/"))

Each cluster is a directory, a tree of cgroups and four anonymous sets of namespaces. All its
processes are in
the cgroups, all its mounts, links and sockets in the namespaces: ending the processes ends the
rest.
"""
