"""The Grafana dashboard, from code. `queries` has PromQL, `rows_…` the panels; `layout` makes the JSON."""
