def scoreboard(rows, gradient_errors):
    """Show the claims as a table, return one verdict a claim, and assert each of them.

    A row is a dict: claim; place (section, figure or table of the paper); paper (its number, as
    text); ours (float); op (">=" or "<="); threshold (float); digits (shown of ours); expect,
    "reproduced" or "not reproduced". The verdict is computed: "reproduced" if `ours op threshold`.
    gradient_errors maps a checked function to its worst relative error.
    """
    def shown(x, digits):
        return f"{x:.{digits}f}" if x == 0 or abs(x) >= 10**-digits else f"{x:.0e}"

    for row in rows:
        ours, op, threshold = float(row["ours"]), row["op"], float(row["threshold"])
        assert np.isfinite(ours), f"{row['claim']}: {ours} is no measurement"
        holds = {">=": ours >= threshold, "<=": ours <= threshold}[op]
        row |= {"ours": ours, "threshold": threshold,
                "verdict": "reproduced" if holds else "not reproduced"}
    record = {"rows": rows, "gradient_errors": {k: float(e) for k, e in gradient_errors.items()}}
    lines = ["| claim | in the paper | paper | ours | wanted | verdict |", "|---|---|---|---|---|---|"]
    lines += [f"| {r['claim']} | {r['place']} | {r['paper']} | {shown(r['ours'], r['digits'])} | "
              f"{r['op']} {r['threshold']:g} | {r['verdict']} |" for r in rows]
    display({"text/markdown": "\n".join(lines), "text/plain": "\n".join(lines),
             "application/vnd.thirty-papers.scoreboard+json": record}, raw=True)
    for row in rows:
        assert row["verdict"] == row["expect"], f"{row['claim']}: {row['verdict']} ({row['ours']})"
    return [f"{row['verdict']}: {row['claim']}" for row in rows]
