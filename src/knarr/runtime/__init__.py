"""The OCI runtime: an OCI spec becomes a tuple of steps, one place carries them out.

``plan`` is pure: it turns a spec into steps that can be printed and compared.
``process`` clones the container's first process, which runs the steps in its
new namespaces up to the gate, waits there, and ends in execve. Nothing in this
package imports a module after the root has changed, and none of it knows
images, networks or the engine.
"""
