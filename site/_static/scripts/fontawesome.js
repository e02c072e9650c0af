/* The icons come from the font in the style sheet; the script that draws them again is not needed. */
