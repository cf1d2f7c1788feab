"""All groups of rows of the comparison, in the order of the tables."""
from . import cases_conv, cases_gemm, cases_memory, cases_sequence, cases_text, cases_train, cases_zoo

GROUPS = [*cases_gemm.GROUPS, *cases_conv.GROUPS, *cases_sequence.GROUPS, cases_memory.GROUP, cases_train.GROUP,
          cases_zoo.GROUP, *cases_text.GROUPS]
