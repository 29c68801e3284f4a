"""The controller: owns the table of services, decides their phases, starts and stops replicas.

`controller` takes what happens, `decide` says what follows (pure), `apply` does it by the phase
table of `phases`. Whatever starts replicas is behind `backends`; the protocol behind `link`; files
that users write behind `manifests`. Nothing here knows XDP, and nothing but `kube/` will know
Kubernetes.
"""
