"""How commands say for how long something has been."""


def span(seconds: float) -> str:
    """In the two largest units that matter: 3 d 4 h, 5 min 6 s, 7 s."""
    whole = int(seconds)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def short(seconds: float) -> str:
    """As milliseconds below a second, with a decimal above."""
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"
