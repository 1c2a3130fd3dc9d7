"""A shard of avatar frames as synthetic/data/dataset.py writes it, filled with smooth noise, small and fast."""

import numpy as np

PARTS = ["face", "hand.L", "hand.R", *(f"part{i}" for i in range(15))]


def write_shard(folder, identities=3, clips=2, size=64, seed=0, whole=None):
    """Rows in [whole identities] are written, the rest stays zero, as in a shard that is still being made."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = identities * clips * 8

    def image(count, channels=3):
        coarse = rng.integers(0, 255, (count, 8, 8, channels))
        return coarse.repeat(size // 8, 1).repeat(size // 8, 2).astype(np.uint8)

    identity = np.arange(rows) // (clips * 8)
    part = rng.integers(0, 19, (rows, 8, 8)).repeat(size // 8, 1).repeat(size // 8, 2)
    arrays = {
        "rgb": image(rows), "normal": image(rows), "alpha": image(rows, 1)[..., 0], "lift": image(rows),
        "visibility": image(rows, 1)[..., 0], "region": (part % 4).astype(np.uint8), "part": part.astype(np.uint8),
        "yaw": rng.uniform(-80, 80, rows).astype(np.float32), "perturbed": (identity % 2).astype(np.uint8),
        "portrait": image(identities), "portrait_mask": image(identities, 1)[..., 0],
        "identity": identity.astype(np.int32), "complete": np.ones(identities, np.uint8),
    }  # fmt: skip
    if whole is not None:
        arrays["complete"] = np.isin(np.arange(identities), whole).astype(np.uint8)
        arrays["identity"][~np.isin(identity, whole)] = 0
    else:
        (folder / "DONE").write_text("complete\n")
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return arrays
