"""The plugin kit: it checks that a plugin keeps the contract, on synthetic faces and tiny networks, without any run.

`bench.kit.catalogue` names the checks, `bench.kit.world` makes what a plugin is called with, `bench.kit.trials` calls
plugins of each kind, and `bench.kit.examine` asks the checks. ``bench check`` runs them in a child process
(`bench.kit.child`); `bench.testing` is the public module. Nothing below the command line imports this package.
"""
