#!/usr/bin/awk -f
# Sums gcov's per-file lines for core/ sources: file, lines, percent; total last.
/^File / { file = $2; gsub(/'/, "", file); keep = file ~ /^core\/.*\.[ch]$/ && !(file in seen) }
/^Lines executed/ && keep {
  split($0, part, /[:% ]+/); percent = part[3]; lines = part[5]
  keep = 0; seen[file] = 1; all += lines; hit += lines * percent / 100
  printf "%6.1f %% of %5d  %s\n", percent, lines, file
}
END { if (all) printf "%6.1f %% of %5d  total\n", 100 * hit / all, all }
