"""Four items and two users, what rating models may know of them beside ratings."""

import pandas as pd

from dualrec_utils.core.config import ITEM, USER

ITEMS = pd.DataFrame(
    {
        ITEM: [10, 20, 30, 40],
        "title": ["Heat", "Big Night", "Alien", "unknown"],
        "year": pd.array([1995, 1996, 1979, None], dtype="Int64"),
        "genres": [["Action", "Crime"], ["Drama"], ["Action", "Horror"], []],
    }
)
USERS = pd.DataFrame({USER: [1, 2], "age": [24, 53], "gender": ["M", "F"], "occupation": ["clerk", None]})
