"""The record of a run, and everything that is written or drawn from it.

A worker's numbers become plain data here (``record``, as ``schema`` tells it); summary, files,
page, figures and the commands read nothing else. Each chart is described once (``charts``,
``maps``) and drawn into the page (``svg``) and into files (``plots``). May import ``gate`` and the
rooms below it.
"""
