"""Proof of coherence: two hosts are asked and changed while things break, and a judge looks on."""
