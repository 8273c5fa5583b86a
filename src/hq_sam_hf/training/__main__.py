import sys

from .trainer import main

main(sys.argv[1:])
