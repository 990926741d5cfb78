"""What cannot be diagnosed is said in one sentence, and the command ends with 2."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tests.command import Command


@pytest.fixture
def files(own: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 2))
    broken = x.copy()
    broken[7, 1] = np.nan
    broken[9, 0] = np.inf
    arrays = {
        "good": x,
        "three": rng.normal(size=(50, 3)),
        "nan": broken,
        "huge": 1e300 * x,
        "empty": x[:0],
        "vector": x[:, 0],
        "words": np.array([["a", "b"]]),
        "complex": x * 1j,
        "objects": np.array([[{}, 1]], dtype=object),
    }
    for name, array in arrays.items():
        np.save(own / f"{name}.npy", array)
    (own / "no.npy").write_text("no array")
    (own / "no.parquet").write_text("no table")
    (own / "x.csv").write_text("1,2")
    table = pyarrow.table({"a": [0.5, 1.0], "b": ["x", "y"]})
    pyarrow.parquet.write_table(table, own / "words.parquet")
    hole = pyarrow.table({"a": [0.5, None], "b": [1, 2]})
    pyarrow.parquet.write_table(hole, own / "hole.parquet")
    return own


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "own_inn:no_inverse",
            "Linear has no method 'inverse'",
        ),
        ("own_inn:noisy --shape 2", "gives something else the second time: noise, or a hidden"),
        ("own_inn:halves --shape 2", "maps 2 numbers to 1, so that no inverse can lead back"),
        (
            "own_inn:other_shape --shape 2",
            "its inverse gives the shape (4,), and its inputs",
        ),
        (
            "own_inn:half --shape 2",
            "its inverse fails on inputs of shape (2,): NotImpl",
        ),
        ("own_inn:picky --shape 2", "raises on every input, at Picky: AssertionError: out of the"),
        ("own_inn:failing", "own_inn:failing cannot be built: RuntimeError: no weights on this"),
        ("own_inn:needy", "needs (shape, generator, weights), and gets a shape and a generator"),
        ("own_inn:NUMBER", "own_inn:NUMBER is no factory(shape, generator), but int"),
        ("own_inn:godo", "own_inn has no 'godo'; allowed: "),
        ("own_inn:godo", "did you mean 'good'?"),
        ("nowhere:f", "cannot import 'nowhere': ModuleNotFoundError"),
        ("afine", "unknown architecture 'afine'"),
        ("afine", "(a network of your own: module:factory)"),
        ("own_inn:good", "nothing says the shape of its inputs: give --data, or --shape"),
        ("own_inn:good --shape 3", "fails on inputs of shape (3,): RuntimeError: The size of"),
        ("own_inn:good --shape two", "--shape is positive numbers, as in 2 or 1,8,8; got 'two'"),
        ("own_inn:good --data three.npy", "fails on inputs of shape (3,)"),
        ("own_inn:good --data three.npy --shape 2", "--shape is (2,), and the data's rows are of"),
        (
            "own_inn:good --data nan.npy",
            "2 of 50 rows have NaN or infinite entries in float32",
        ),
        ("own_inn:good --data huge.npy", "50 of 50 rows have NaN or infinite entries in float32"),
        ("own_inn:good --data hole.parquet", "1 of 2 rows has NaN or infinite entries"),
        ("own_inn:good --data empty.npy", "is empty, of shape (0, 2)"),
        ("own_inn:good --data vector.npy", "rows of inputs are needed, not the shape (50,)"),
        ("own_inn:good --data words.npy", "holds <U1, and no numbers"),
        ("own_inn:good --data complex.npy", "holds complex128, and no numbers"),
        ("own_inn:good --data objects.npy", "not an array of numbers"),
        ("own_inn:good --data no.npy", "--data no.npy: not an array of numbers"),
        ("own_inn:good --data no.parquet", "--data no.parquet: not a Parquet file"),
        ("own_inn:good --data words.parquet", "the column 'b' holds string, and no numbers"),
        ("own_inn:good --data none.npy", "--data none.npy: there is no such file"),
        ("own_inn:good --data x.csv", "a file of inputs is .npy or .parquet, and this is neither"),
        ("own_inn:good --data chequerboard", "no file and no dataset 'chequerboard'; allowed: "),
        ("own_inn:good --data chequerboard", "did you mean 'checkerboard'?"),
        ("own_inn:good --data digits", "fails on inputs of shape (1, 8, 8)"),
        ("own_inn:good --shape 2 --picture x.gif", "a picture is .svg, .png, .pdf"),
        ("own_inn:good --shape 2 --picture no/x.svg", "there is no folder no"),
        ("own_inn:good --shape 2 --device cuda", "--device cuda: there is none here"),
    ],
)
def test_a_sentence_and_exit_code_2(arguments: str, said: str, innbench: Command) -> None:
    found = innbench("diagnose", *arguments.split())
    assert found.code == 2, found.out
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    assert said in found.err
