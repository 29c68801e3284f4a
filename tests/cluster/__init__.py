"""A real two-node Kubernetes on one machine: no Docker, no registry, nothing left behind.

What belongs here: building Kubernetes once, nodes made of namespaces and cgroups, the control
plane, kubectl for tests, the client outside. What never does: Wangell itself, which tests/e2e
installs as a user would.

    with Cluster.start() as cluster:
        cluster.apply(manifest)
        cluster.wait_for("deployment/hello", "jsonpath={.status.availableReplicas}=1")
        cluster.assign_address("hello", "10.200.1.7", node="node1")
        print(cluster.client.curl("http://10.200.1.7/"))

Each cluster is a directory, a tree of cgroups and five sets of namespaces that have no name. Its
processes are in the cgroups; its mounts, links and sockets are in the namespaces. So ending the
processes ends all the rest, and a cluster that was killed is removed by the next start.
"""
