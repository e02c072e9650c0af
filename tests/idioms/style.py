# Okabe-Ito: eight colours that readers with any colour vision tell apart. Markers and line styles
# always go with them.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
plt.rcParams.update({
    "figure.figsize": (6.4, 3.0), "figure.dpi": 100, "figure.constrained_layout.use": True,
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",
    "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK]),
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "axes.titlesize": 10, "axes.titlelocation": "left", "axes.labelsize": 9, "font.size": 9,
    "legend.fontsize": 8, "legend.frameon": False, "lines.linewidth": 1.6, "lines.markersize": 4,
    "image.cmap": "viridis",
})


# glibc returns freed memory to the system, and each training step then pays for fetching it again.
# Once a block of this size was freed it keeps what it has. Other systems are not affected.
np.empty(31 << 20, np.uint8)


def show(fig, alt):
    """Display the figure with `alt`, its description in words for readers who cannot see it."""
    display(fig, metadata={"image/png": {"alt": " ".join(alt.split())}})
    plt.close(fig)
