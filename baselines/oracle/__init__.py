"""The measurement with known nuisances: a reference line, told what no method is."""
