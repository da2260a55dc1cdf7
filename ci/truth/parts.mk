# Eight parts that compute, for `make -j`: PROGRAM is the ground-truth program in C.
all: 1 2 3 4 5 6 7 8
1 2 3 4 5 6 7 8:
	@env -u TRUTH $(PROGRAM) compute 250
.PHONY: all 1 2 3 4 5 6 7 8
