"""What was verified and chosen, as frozen data, for programs and for people.

Nothing here imports the pipeline: reading a report needs neither a model nor an engine.
"""
