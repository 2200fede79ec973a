"""
HTTP for programs that are asked from outside: uvicorn's protocol with limits of its own (decision 0122).

Here: connections, their times and their number. Not here: what is answered.
"""
