"""What `mercenary bench` measures, and beside what.

Use it to see the guide's figures on your own machine: each stands beside a yardstick that was
measured in the same minutes, because machines are shared and noisy. A bench judges itself; it is
no test, and no test asserts a speed.
"""
