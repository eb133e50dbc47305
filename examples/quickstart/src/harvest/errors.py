"""What can be wrong with a plan."""


class HarvestError(Exception):
    """Something the gardener can mend."""


class UnknownCropError(HarvestError):
    def __init__(self, name: str, bed: str) -> None:
        super().__init__(f"bed {bed!r} grows {name!r}, which no crop describes")
        self.name = name
