"""A believable marketplace out of a number: the same scale and seed give the same rows, always.

Use it to try things out and to measure: `mercenary seed --scale 100k`. `fields`, `people` and
`phrases` hold the words, `population` and `marketplace` make rows of them, `slices` in processes
beside the one in which `load` stores them.
"""
