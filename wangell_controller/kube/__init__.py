"""The controller on Kubernetes: the only room that imports the official client.

What belongs here: the door to the API server and its errors, watches, what a WangellService becomes
(a Deployment, a Service), its status and Events, who may link. What never does: phases and their
decisions, which know no Kubernetes. `api` is the door; `desired`, `observed`, `endpoints`, `status`
and `trouble` are pure; `backend` fits it all behind the controller's Backend.
"""
