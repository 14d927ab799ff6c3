"""One file a stage of the lineage: what the report page shows of it.

Each has `headline(stage)`, the one or two short lines of the picture, and `blocks(stage, run)`.
"""
