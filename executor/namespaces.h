#ifndef ROOTLING_NAMESPACES_H
#define ROOTLING_NAMESPACES_H
int namespace_bits(const char *list);
int enter_joins(struct op *op);
#endif
