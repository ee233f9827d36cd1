/*
** Line editing from Lua, by libedit: lines, history, completion.
**
** An editor is an owner of the class "quern.edit". Completion is a Lua function of the
** line and the cursor that returns the text to insert and a text to show (nil: none);
** it runs protected, inside el_gets, so that no Lua error jumps through libedit. Ctrl-C
** is a key while a line is read: it gives the line up. Signals that end the process are
** left to libedit, which puts the terminal back first.
** SPDX-License-Identifier: MIT
*/
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "bind/bind.h"

enum { HISTORY_LINES = 1000, PROMPT_ROOM = 64 };

static const char class_name[] = "quern.edit";

struct editor {
  EditLine *el;
  History *history;
  lua_State *L;  /* the one that reads; only while it reads */
  int complete;  /* registry reference of the function */
  bool given_up; /* Ctrl-C was pressed */
  char prompt[PROMPT_ROOM];
};

static struct editor *editor_of(EditLine *el) {
  void *data = NULL;
  el_get(el, EL_CLIENTDATA, &data);
  return data;
}

static char *prompt_of(EditLine *el) { return editor_of(el)->prompt; }

/* ---- Keys ---- */

/* Runs protected on (function, line, cursor): pushes the text to insert and the text to show. */
static int ask(lua_State *L) {
  lua_call(L, 2, 2);
  luaL_tolstring(L, -2, NULL);
  if (lua_isnil(L, -2))
    lua_pushnil(L);
  else
    luaL_tolstring(L, -2, NULL);
  return 2;
}

static unsigned char show(lua_State *L) {
  const char *insert = lua_tostring(L, -2), *text = lua_tostring(L, -1);
  if (!text) return *insert ? CC_REFRESH : CC_REFRESH_BEEP;
  printf("\n%s\n", text);
  return CC_REDISPLAY;
}

static unsigned char on_tab(EditLine *el, int key) {
  (void)key;
  struct editor *e = editor_of(el);
  const LineInfo *line = el_line(el);
  unsigned char answer = CC_ERROR;
  int top = lua_gettop(e->L);
  if (!lua_checkstack(e->L, 8)) return answer;
  lua_pushcfunction(e->L, ask);
  lua_rawgeti(e->L, LUA_REGISTRYINDEX, e->complete);
  lua_pushlstring(e->L, line->buffer, (size_t)(line->lastchar - line->buffer));
  lua_pushinteger(e->L, line->cursor - line->buffer);
  if (!lua_pcall(e->L, 3, 2, 0)) {
    const char *insert = lua_tostring(e->L, -2);
    if (*insert) el_insertstr(el, insert);
    answer = show(e->L);
  }
  lua_settop(e->L, top);
  return answer;
}

static unsigned char on_control_c(EditLine *el, int key) {
  (void)key;
  editor_of(el)->given_up = true;
  return CC_NEWLINE;
}

/* Ctrl-D ends the input on an empty line, and deletes forward in others. */
static unsigned char on_control_d(EditLine *el, int key) {
  (void)key;
  const LineInfo *line = el_line(el);
  if (line->lastchar == line->buffer) return CC_EOF;
  if (line->cursor == line->lastchar) return CC_ERROR;
  el_cursor(el, 1);
  el_deletestr(el, 1);
  return CC_REFRESH;
}

static void bind_keys(EditLine *el) {
  el_set(el, EL_EDITOR, "emacs");
  el_set(el, EL_ADDFN, "quern-complete", "Complete the word", on_tab);
  el_set(el, EL_ADDFN, "quern-give-up", "Give the line up", on_control_c);
  el_set(el, EL_ADDFN, "quern-end", "End, or delete forward", on_control_d);
  el_set(el, EL_BIND, "^I", "quern-complete", NULL);
  el_set(el, EL_BIND, "^C", "quern-give-up", NULL);
  el_set(el, EL_BIND, "^D", "quern-end", NULL);
  el_set(el, EL_BIND, "^R", "em-inc-search-prev", NULL);
  el_set(el, EL_BIND, "\\e[3~", "ed-delete-next-char", NULL);
  el_set(el, EL_BIND, "\\e[1;5D", "ed-prev-word", NULL);
  el_set(el, EL_BIND, "\\e[1;5C", "em-next-word", NULL);
  el_set(el, EL_SETTY, "-d", "-isig", NULL);
}

/* ---- From Lua ---- */

static void release(void *thing) {
  struct editor *e = thing;
  if (e->el) el_end(e->el);
  if (e->history) history_end(e->history);
  qni_mem_free(e);
}

/* edit_open(complete): an editor on the terminal. */
static int edit_open(lua_State *L) {
  HistEvent event;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  qni_owner *owner = qni_bind_own(L, class_name, release);
  qni_error_reset();
  struct editor *e = owner->thing = qni_mem_zalloc(1, sizeof *e);
  if (!e) qni_bind_check(L, QN_E_NOMEM);
  setlocale(LC_CTYPE, ""); /* the terminal's characters; numbers stay as they are */
  e->el = el_init("quern", stdin, stdout, stderr);
  e->history = history_init();
  if (!e->el || !e->history)
    return qni_bind_fail(L, QN_E_IO, NULL, "the terminal cannot be opened for line editing");
  history(e->history, &event, H_SETSIZE, HISTORY_LINES);
  history(e->history, &event, H_SETUNIQUE, 1);
  lua_pushvalue(L, 1);
  e->complete = luaL_ref(L, LUA_REGISTRYINDEX);
  el_set(e->el, EL_CLIENTDATA, e);
  el_set(e->el, EL_PROMPT, prompt_of);
  el_set(e->el, EL_SIGNAL, 1);
  el_set(e->el, EL_HIST, history, e->history);
  bind_keys(e->el);
  return 1;
}

/* editor:read(prompt): a line without its end; nil and "end" or "given up". */
static int edit_read(lua_State *L) {
  struct editor *e = qni_bind_thing(L, 1, class_name);
  int n = 0;
  snprintf(e->prompt, sizeof e->prompt, "%s", qni_bind_str(L, 2, "prompt"));
  e->L = L;
  e->given_up = false;
  fflush(stdout);
  const char *line = el_gets(e->el, &n);
  if (e->given_up || !line || n <= 0) {
    if (e->given_up) el_reset(e->el);
    lua_pushnil(L);
    lua_pushstring(L, e->given_up ? "given up" : "end");
    return 2;
  }
  while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
  lua_pushlstring(L, line, (size_t)n);
  return 1;
}

/* editor:add(line): to the history. */
static int edit_add(lua_State *L) {
  struct editor *e = qni_bind_thing(L, 1, class_name);
  HistEvent event;
  history(e->history, &event, H_ENTER, qni_bind_str(L, 2, "line"));
  return 0;
}

void qni_bind_open_edit(lua_State *L) {
  static const luaL_Reg methods[] = {{"read", edit_read}, {"add", edit_add}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"edit_open", edit_open}, {NULL, NULL}};
  qni_bind_class(L, class_name, methods);
  qni_bind_set(L, functions);
}
