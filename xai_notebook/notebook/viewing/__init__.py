"""Pictures of the library in the browser, for whatever widget shows them: the panel, the library.

messages.py  what a browser may say, and in which shape
widget.py    what every such widget is asked, and hears
answers.py   pictures as the browser is told of them
actions.py   what is done with chosen pictures
"""
