"""The outputs: plain topics and Home Assistant discovery, side by side behind one protocol.

An output renders messages. Its location outlives it: a value in the manifest from which a later run determines the
topics of the output, and clears them.
"""
