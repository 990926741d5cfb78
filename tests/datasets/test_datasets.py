import pytest
import torch
from sklearn.datasets import make_moons

from harness import registry
from harness.datasets.base import Dataset, Splits
from harness.datasets.off_distribution import off_distribution
from harness.seeding import generator

# The bytes that a cell's numbers rest on: a change here needs a new version of the entry.
DIGESTS = {
    "checkerboard": "25700f2db70f070e9320dde5410bde96df70299f12c6cb11c722d78d29aa0283",
    "digits": "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3",
    "eight_gaussians": "c328c53c187a1e147e977cf75c6b0f7043dacdd7e15d501df98327e54e4f6749",
    "rings": "ccf97114d49b8a7cf283cba1780cfb2520735afb7943574b42437e891c565cc5",
    "toy_regression": "87a62b3b4903b3c6f2146945422ab4f4f4fc595b133588a02b7b53591d5d34b9",
    "two_moons": "d9d3004c750cb9d5c8f0d1b6b655e86b0ab739eaa2d05782da0b3066e5ba1ac1",
}
# Likewise, with their targets; the others have none.
WITH_TARGETS = {
    "digits": "65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5",
    "toy_regression": "3b262d79a6831687ddd8efc5f14000f1c213de3dd5c21919c9d2d20806c319e9",
}


def build(given: object) -> Dataset:
    dataset: Dataset = registry.build("dataset", registry.resolve("dataset", given))
    return dataset


@pytest.mark.parametrize("name", registry.names("dataset"))
def test_bytes_are_pinned_and_splits_are_apart(name: str) -> None:
    dataset = build(name)
    splits = dataset.read()
    assert splits.digest() == DIGESTS[name]
    assert splits.digest(targets=True) == WITH_TARGETS.get(name, DIGESTS[name])
    assert splits.train.shape[1:] == splits.test.shape[1:] == dataset.shape
    rows = torch.cat([splits.train, splits.test]).flatten(1)
    assert len({row.numpy().tobytes() for row in rows}) == len(rows)


@pytest.mark.parametrize("name", registry.names("dataset"))
def test_targets_are_of_the_kind_that_the_dataset_says(name: str) -> None:
    dataset = build(name)
    splits = dataset.read()
    assert (name in WITH_TARGETS) == (splits.train_targets is not None)
    assert (dataset.classes, dataset.target_dimensions).count(None) == 2 - (name in WITH_TARGETS)
    for x, y in ((splits.train, splits.train_targets), (splits.test, splits.test_targets)):
        if dataset.classes is not None:
            assert y is not None
            assert (y.dtype, y.shape) == (torch.int64, (len(x),))
            assert set(y.tolist()) == set(range(dataset.classes))
        elif dataset.target_dimensions is not None:
            assert y is not None
            assert (y.dtype, y.shape) == (torch.float32, (len(x), dataset.target_dimensions))
        else:
            assert y is None


@pytest.mark.parametrize("name", registry.names("dataset"))
def test_prepared_inputs_and_off_distribution_sets(name: str) -> None:
    dataset = build(name)
    test = dataset.prepare(dataset.read().test, generator(0, "t"))
    assert test.dtype == torch.float32
    sets = off_distribution(dataset, test, 200, generator(0, "o"))
    middle, radius = (dataset.low + dataset.high) / 2, (dataset.high - dataset.low) / 2
    for x in sets.values():
        assert x.shape == (200, *dataset.shape)
        assert x.dtype == torch.float32
        assert x.isfinite().all()
    assert set(sets["rademacher"].flatten().tolist()) == {dataset.low, dataset.high}
    assert dataset.low <= sets["uniform"].min() < sets["uniform"].max() <= dataset.high
    assert float(sets["gaussian"].std()) == pytest.approx(radius, rel=0.1)
    assert float(sets["gaussian"].mean()) == pytest.approx(middle, abs=0.2 * radius)
    assert (sets["constant"].flatten(1).std(1) == 0).all()
    few = sets["constant"][:32].flatten(1)[:, 0]  # what a probe of 32 points takes
    assert few.min() < middle - 0.7 * radius
    assert few.max() > middle + 0.7 * radius
    assert float(sets["constant"].min()) == dataset.low
    assert float(sets["constant"].max()) == dataset.high
    assert torch.equal(sets["times_10"], 10 * test[:200])
    boxes = {key: float(x.abs().max()) for key, x in sets.items() if key.startswith("box")}
    assert boxes.keys() == ({"box_100", "box_1000"} if dataset.shape == (2,) else set())
    assert all(0.9 * int(key[4:]) < size <= int(key[4:]) for key, size in boxes.items())


def test_dequantization_never_leaves_its_level_and_fills_it() -> None:
    levels = torch.arange(17, dtype=torch.uint8).repeat(50_000).reshape(-1, 1, 1, 17)
    dataset = Dataset("d", (1, 1, 17), -0.5, 0.5, "", "", lambda: Splits(levels, levels), levels=17)
    x = dataset.prepare(levels, generator(0, "u"))
    position = (x.double() + 0.5) * 17
    noise = position - levels
    # 1e-5 of a level is far below the grid's step of 2⁻¹⁶.
    assert noise.min() > -1e-5
    assert noise.max() < 1 - 2**-16 + 1e-5
    assert float(noise.mean()) == pytest.approx(0.5, abs=1e-2)
    assert len(set((noise * 2**16).round().flatten().tolist())) > 60_000


def test_checkerboard_lies_on_eight_squares() -> None:
    x = build("checkerboard").read().train
    cell = torch.floor(x / 2).long()
    assert ((cell.sum(1) % 2) == 0).all()
    assert len(set(map(tuple, cell.tolist()))) == 8
    assert x.abs().max() <= 4


def test_digits_are_the_real_ones() -> None:
    splits = build("digits").read()
    assert splits.train.shape == (1400, 1, 8, 8)
    assert splits.test.shape == (397, 1, 8, 8)
    assert splits.train.dtype == torch.uint8
    assert splits.train.min() == 0
    assert splits.train.max() == 16


def test_two_moons_are_half_circles_and_those_of_scikit_learn() -> None:
    splits = build("two_moons").read()
    x = splits.train.double()
    upper = x + torch.tensor([1.0, 0.5])
    lower = x - torch.tensor([1.0, 0.5])
    off_upper = torch.where(upper[:, 1] > 0, (upper.norm(dim=1) - 2).abs(), torch.inf)
    off_lower = torch.where(lower[:, 1] < 0, (lower.norm(dim=1) - 2).abs(), torch.inf)
    near = torch.minimum(off_upper, off_lower) < 3 * 0.2
    assert near.double().mean() > 0.95  # but for noise beyond the ends of a half circle
    assert float((off_upper < off_lower).double().mean()) == pytest.approx(0.5, abs=0.02)
    theirs, _ = make_moons(20_000, noise=0.1, random_state=0)
    theirs = 2 * torch.from_numpy(theirs) - torch.tensor([1.0, 0.5])
    assert torch.allclose(_moments(x), _moments(theirs), rtol=0.03, atol=0.03)


def _moments(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x.mean(0), x.T.cov().flatten(), (x**4).mean(0)])


def test_rings_are_four_equal_circles() -> None:
    radius = build("rings").read().train.double().norm(dim=1)
    ring = (radius / 0.75).round()
    assert ((radius - 0.75 * ring).abs() < 3 * 0.08).double().mean() > 0.99
    shares = [float((ring == n).double().mean()) for n in range(1, 5)]
    assert shares == pytest.approx([0.25] * 4, abs=0.02)
