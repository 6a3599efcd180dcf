"""The tables of benches/secure-sum, as Markdown that can be read in a terminal."""

# Names of the rows; an empty one is in the row itself.
PEERS = {
    "ours": "ours",
    "tenseal": "TenSEAL CKKS 8192, as FLARE uses it",
    "paillier": "Paillier 2048, packed",
    "fheuint16": "tfhe FheUint16",
    "pairwise": "",
    "memcpy": "",
}


def show(result: dict) -> None:
    """Prints all tables."""
    heading("16-bit values, 10 clients: M values/s")
    table(["", "encrypt", "add", "open", "bytes/value", "who can decrypt one client"], peer_rows(result))
    notes(result)
    heading("Aims")
    table(
        ["", "aim", "reached"],
        [[aim["what"], number(aim["aim"]), number(aim["reached"])] for aim in result["aims"]],
    )
    heading("Ours, other cases and sizes: M values/s")
    table(
        ["", "set", "encrypt", "add", "add, one by one", "add, by chunk", "open", "bytes/value", "log2 failure"],
        [case_row(row) for row in result["cases"] + result["curve"]],
    )
    heading("The checksum of a body, by which clients check a sum")
    table(
        ["", "ns/value", "of the sum, ns/value", "of a body / encrypt", "bytes"],
        [checksum_row(row) for row in result["cases"]],
    )
    heading("The committee: client")
    table(
        ["", "deal ms", "of it commitments", "seal ms", "sends KB", "a share KB", "commitments KB"],
        [client_row(row) for row in result["committee"]],
    )
    heading("The committee: aggregator, each member, whoever opens")
    table(
        ["", "aggregator s", "receives MB", "member s", "member receives MB", "combine ms", "answers KB"],
        [round_row(row) for row in result["committee"]],
    )


def heading(text: str) -> None:
    print(f"\n{text}\n")


def notes(result: dict) -> None:
    """What the figures of the peers do and do not hold."""
    pairwise = result["pairwise"]
    few = next(iter(pairwise["variants"].values()))
    dropped = [number(1e9 / row["dropout_values_per_s"]) for row in (pairwise, few)]
    print(
        "\nSteps start and end in values or in bytes as they travel, but where it says otherwise; Paillier and FheUint16"
        " work on ciphertexts in memory."
        f"\nPairwise masks: each client that vanishes costs the aggregator {dropped[0]} ms more a million values"
        f" ({dropped[1]} ms with 9 neighbours);"
        f"\nbit-packed they take {pairwise['packed_bytes_per_value']:g} bytes a value"
        f" ({few['packed_bytes_per_value']:g} for 10 clients); their key agreement is not counted."
        "\nFheUint16 adds modulo 2^16; its bytes are those of a compressed ciphertext. A plain copy stands for each step."
    )


def peer_rows(result: dict) -> list[list[str]]:
    rows = []
    for key, name in PEERS.items():
        peer = result[key]
        if "left_out" in peer:
            rows.append([name, "-", "-", "-", "-", peer["left_out"]])
            continue
        rows.append([name or peer["name"], *rates(peer), peer["who_decrypts_one_client"]])
        for variant, row in peer.get("variants", {}).items():
            rows.append([f"  {variant}", *rates(row), ""])
    return rows


def rates(row: dict) -> list[str]:
    speeds = [number(row[f"{step}_values_per_s"] / 1e6) for step in ("encrypt", "add", "open")]
    return [*speeds, f"{row['bytes_per_value']:,.4g}"]


def case_row(row: dict) -> list[str]:
    names = ("encrypt", "add", "add_one", "add_chunk", "open")
    speeds = [number(row[f"{name}_values_per_s"] / 1e6) for name in names]
    return [row["name"], row["set"], *speeds, f"{row['bytes_per_value']:.3f}", f"{row['failure_log2']:.0f}"]


def checksum_row(row: dict) -> list[str]:
    names = ("checksum_ns_per_value", "checksum_of_sum_ns_per_value", "checksum_share_of_encrypt", "checksum_bytes")
    return [row["name"], *(number(row[name]) for name in names)]


def client_row(row: dict) -> list[str]:
    times = [number(row[f"client_{name}_s"] * 1e3) for name in ("deal", "commitments", "seal")]
    sizes = [number(row[name] / 1e3) for name in ("client_bytes", "share_bytes", "commitments_bytes")]
    return [row["name"], *times, *sizes]


def round_row(row: dict) -> list[str]:
    return [
        row["name"],
        number(row["aggregator_s"]),
        number(row["aggregator_bytes"] / 1e6),
        number(row["member_s"]),
        number(row["member_bytes"] / 1e6),
        number(row["combine_s"] * 1e3),
        number(row["threshold"] * row["answer_bytes"] / 1e3),
    ]


def number(value: float) -> str:
    """Three digits that count; thousands with a comma."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.1e}"


def table(columns: list[str], rows: list[list[str]]) -> None:
    """Text columns (the first, and those without figures) to the left, figures to the right."""
    widths = [max(len(row[at]) for row in [columns, *rows]) for at in range(len(columns))]
    left = [at == 0 or not any(row[at].lstrip("-")[:1].isdigit() for row in rows) for at in range(len(columns))]

    def line(cells: list[str]) -> str:
        aligned = (c.ljust(w) if is_left else c.rjust(w) for c, w, is_left in zip(cells, widths, left))
        return f"| {' | '.join(aligned)} |"

    print(line(columns))
    print("|" + "|".join("-" * (w + 2) if is_left else "-" * (w + 1) + ":" for w, is_left in zip(widths, left)) + "|")
    for row in rows:
        print(line(row))
