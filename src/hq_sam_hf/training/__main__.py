import sys

from .training import main

main(sys.argv[1:])
