def _x(call): raise NotImplementedError
dashboard=next_disagreement=disagreement=decide=screening=decide_candidate=grade=people=invite=change_access=export=download=_x
