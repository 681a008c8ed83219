/* A command that is written as one text, split into words as src/boot/shell-words.ts does: see there. */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

struct splitter {
  char **words, *word;
  size_t count, length;
  bool in_word;
};

static void add(struct splitter *s, char c) {
  s->word[s->length++] = c;
  s->in_word = true;
}

static void end_word(struct splitter *s) {
  if (!s->in_word) return;
  s->words[s->count++] = strndup(s->word, s->length);
  s->length = 0;
  s->in_word = false;
}

/* Takes in what follows a backslash at text[at]; returns how far it went. */
static size_t escaped(struct splitter *s, const char *text, size_t at, char quote, const char **wrong) {
  char next = text[at + 1];
  if (next == '\0') {
    *wrong = "the text ends with a backslash";
    return at;
  }
  if (next == '\n') return at + 1;
  if (quote == '"' && strchr("\"\\$`", next) == NULL) add(s, '\\');
  add(s, next);
  return at + 1;
}

char **split_words(const char *text, const char **wrong) {
  size_t size = strlen(text);
  struct splitter s = {.words = calloc(size + 2, sizeof *s.words), .word = malloc(size + 1)};
  char quote = '\0';
  *wrong = NULL;
  if (s.words == NULL || s.word == NULL) *wrong = "out of memory";
  for (size_t i = 0; *wrong == NULL && text[i] != '\0'; i++) {
    char c = text[i];
    if (quote == '\0' && strchr(" \t\n\r", c) != NULL) end_word(&s);
    else if (quote == '\0' && (c == '"' || c == '\'')) {
      quote = c;
      s.in_word = true;
    } else if (quote != '\0' && c == quote) quote = '\0';
    else if (c == '\\' && quote != '\'') i = escaped(&s, text, i, quote, wrong);
    else add(&s, c);
  }
  if (*wrong == NULL && quote != '\0')
    *wrong = quote == '"' ? "a quotation mark \" is not closed" : "a quotation mark ' is not closed";
  if (*wrong == NULL) end_word(&s);
  free(s.word);
  return *wrong == NULL ? s.words : NULL;
}
