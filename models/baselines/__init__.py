"""What every network has to beat: fitted on arrays, answering with quantiles, without torch."""
