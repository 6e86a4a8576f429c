// As common.constraints: constraints on names, as small machines that read one character at a time.
//
// A constraint is { says, start, step(state, character), ends(state) }; a step that breaks it returns
// null. States are strings or numbers, so that a list of them can be looked up.

const alphabetRule = (letters) => ({
  says: `the alphabet “${letters}”`,
  start: 0,
  step: (state, character) => (letters.includes(character) ? state : null),
  ends: () => true,
});

const lengthRule = (shortest, longest) => ({
  says: shortest > longest ? `a length of at least ${shortest} and at most ${longest}`
    : longest < Infinity ? `a length of ${shortest} to ${longest}` : `a length of at least ${shortest}`,
  start: 0,
  step: (state) => (longest === Infinity ? Math.min(state + 1, shortest) : state < longest ? state + 1 : null),
  ends: (state) => state >= shortest,
});

// `?` for any one character, `*` for any number of them; the state is the list of places reached.
function patternRule(text) {
  const pastStars = (places) => {
    const reached = new Set(places);
    for (let place of places) while (text[place] === "*") reached.add(++place);
    return [...reached].sort((a, b) => a - b).join();
  };
  const places = (state) => state.split(",").map(Number);
  return {
    says: `the pattern “${text}”`,
    start: pastStars([0]),
    step(state, character) {
      const after = [];
      for (const place of places(state)) {
        if (text[place] === "*") after.push(place);
        else if (text[place] === "?" || text[place] === character) after.push(place + 1);
      }
      return after.length ? pastStars(after) : null;
    },
    ends: (state) => places(state).includes(text.length),
  };
}

// The state is the name so far while some listed name begins like it, then a dot.
function notInRule(names) {
  const beginnings = new Set();
  for (const name of names) for (let n = 0; n <= name.length; n++) beginnings.add(name.slice(0, n));
  return {
    says: "“only new names”",
    start: names.size ? "" : ".",
    step: (state, character) => (beginnings.has(state + character) ? state + character : "."),
    ends: (state) => !names.has(state),
  };
}

// All parts at once, from `prefix` on, for names of at most maxLength characters, without dead ends.
function machineOf(parts, characters, prefix, maxLength = 40) {
  const all = [lengthRule(0, maxLength), ...parts];
  const [alive, allowed] = [new Map(), new Map()];
  const ends = (state) => all.every((part, i) => part.ends(state[i]));

  function step(state, character) {
    const after = [];
    for (const [i, part] of all.entries()) {
      const own = part.step(state[i], character);
      if (own === null) return null;
      after.push(own);
    }
    return after;
  }

  // Whether some continuation, the empty one included, meets the constraint.
  function isAlive(state) {
    const key = state.join("|");
    if (!alive.has(key)) {
      alive.set(key, ends(state) || characters.slice(1).some((character) => {
        const after = step(state, character);
        return after !== null && isAlive(after);
      }));
    }
    return alive.get(key);
  }

  // Index of each character that may come (0: the end) -> the state after it.
  function allowedIn(state) {
    const key = state.join("|");
    if (!allowed.has(key)) {
      const found = new Map(ends(state) ? [[0, null]] : []);
      for (let i = 1; i < characters.length; i++) {
        const after = step(state, characters[i]);
        if (after !== null && isAlive(after)) found.set(i, after);
      }
      allowed.set(key, found);
    }
    return allowed.get(key);
  }

  let start = all.map((part) => part.start);
  for (const character of prefix) start = start && step(start, character);
  return { possible: start !== null && isAlive(start), start, allowed: allowedIn };
}

// What cannot be met together, in words: the fewest parts, up to two, otherwise all of them.
function clashOf(parts, characters, prefix, maxLength) {
  const pairs = parts.flatMap((a, i) => parts.slice(i + 1).map((b) => [a, b]));
  const few = [...parts.map((part) => [part]), ...pairs].find((chosen) => !machineOf(chosen, characters, prefix, maxLength).possible);
  return (few || parts).map((part) => part.says).join(" and ");
}
