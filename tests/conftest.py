"""What all tests share: how hypothesis draws."""

from hypothesis import settings

# `make test` draws the same examples each time for the same code, so that one commit is either green or red, and half
# as many (`tests.support.examples`); plain pytest and `make soak` draw new ones, which is how new faults are found.
settings.register_profile("same-each-time", derandomize=True, max_examples=50)
