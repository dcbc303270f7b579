"""Faults mixed at random, and after each the question whether the broker retains the truth: `make soak`.

- truth: what the stations are, what the bridge has been told, and so what must be retained. Pure.
- troubles: what a cloud can answer instead.
- cloud: a server that tells each station's truth, or its trouble.
- faults: what can happen, drawn at random.
- course: lets it happen, waits for the right picture, and counts what is wrong.
"""
