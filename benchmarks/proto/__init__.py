"""How fast is the peer protocol, beside a bare UDP echo and a gRPC call of the same payload?

`python -m benchmarks.proto` makes two network namespaces with a cable between them, starts every
side of every comparison as a process of its own, and lets them take turns in short blocks, so that
what else the machine does falls on all alike. `budgets` says what is good enough.
"""
