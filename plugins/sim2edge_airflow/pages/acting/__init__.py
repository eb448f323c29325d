"""What a person may do from the pages: `action.py` says what an action is, `routes.py` serves all of them."""
