"""x"""

from jsonargparse import ArgumentParser


def parser():
    return ArgumentParser(description="Learn the twist of cumulenes.")


def run(o):
    pass
