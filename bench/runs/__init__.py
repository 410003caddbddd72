"""Operations on runs: start, replay, score again, combine, explain, watch and remove them; training and checks."""
