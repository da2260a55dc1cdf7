# Makes a package of the functions that both sides call.
