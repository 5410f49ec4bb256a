print("qapigen")
