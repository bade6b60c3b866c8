"""What a person sees of a running bot and asks of it: chat, alerts, page, metrics."""
