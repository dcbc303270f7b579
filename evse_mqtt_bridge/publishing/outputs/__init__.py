"""The outputs: plain topics and Home Assistant discovery, side by side behind one protocol.

An output renders messages. Its location is the part that outlives it: a value that is recorded in the manifest, knows
the topics of the output, and can clear them in a later run.
"""
