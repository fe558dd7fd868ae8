"""One module per trained ability: each makes conversations from a random source.

`held_out` switches a maker to wordings or values that training never uses.
"""
