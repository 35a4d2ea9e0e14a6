"""What a subscriber of the completion topic needs, without the service: installed alone, this package is `cutdrop`.

Imports nothing of the service, no cloud client and no network. The service itself uses these types.
"""
