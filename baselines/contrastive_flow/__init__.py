"""Contrastive normalizing flows as features of a classifier: a complete submission folder."""
