"""Generate a believable market from a seed: the trades and funding of the embedded sample.

Nothing here was recorded, so it may be shipped, and nothing in it says anything about a real market. It
exists so that bars, features, models and ledgers meet the shapes that break naive code. What is built in, and
who reported it:

    heavy tails, clustered volatility, uncorrelated returns     Cont 2001, Quantitative Finance 1
    volatility on several horizons: days, hours, minutes        Corsi 2009, J. Financial Econometrics 7
    regimes: calm, trending up, trending down, turbulent        Hamilton 1989, Econometrica 57
    jumps, rare, each followed by shaken volatility             Merton 1976; Eraker et al. 2003, J. Finance 58
    volatility runs on orders rather than on the clock          Clark 1973; Ane and Geman 2000, J. Finance 55
    orders call forth orders (self-excited, in discrete time)   Hawkes 1971; Bacry et al. 2015
    the taker's side has a long memory                          Lillo and Farmer 2004, SNDE 8
    only the surprise in the side moves price; bounce           Madhavan et al. 1997, RFS 10; Roll 1984
    power-law trade sizes of exponent about 1.5                 Gopikrishnan et al. 2000, Phys. Rev. E 62
    the UTC day, quiet weekends, bursts at full hours           Hansen et al. 2021, arXiv 2109.12142
    funding pinned to 1 bp while the premium is small           Bybit, "Introduction to Funding Rate"

Two scans make a day. `weather` walks its seconds: how volatile, how busy, how many orders. `order_flow` walks the
orders: side, price, and the one or more trades that each leaves behind. `market` joins the days, `funding` settles.

The same spec and seed give the same bytes on any processor: after numpy has drawn, the scans use only what
IEEE 754 rounds in one way (+ - * / sqrt floor), in a fixed order, and never the machine's own exp.
"""
