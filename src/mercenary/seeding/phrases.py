"""Sentences that fit every field: openings, terms, bids. {…} are filled in by the marketplace."""

from typing import Final

OPENINGS: Final = (
    "We are {industry} with {people} people and need help that we don't have in the house.",
    "Our {thing} has grown with the company, and now it has to grow up.",
    "For {industry} we are looking for somebody who knows {skill} well.",
    "This is the second attempt at this project, so we know quite well what we want.",
    "A customer of ours, {industry}, needs this before the end of the quarter.",
    "After {years} years with the same {thing} it is time for something better.",
    "I run {industry} on my own and would like to hand this over to a professional.",
    "You would join a team of {people} that works in writing and meets once a week.",
)
NEEDS: Final = (
    "The work is about {skill}, and a good part of it is understanding what is there.",
    "You should have used {skill} for at least {years} years.",
    "Knowledge of {other} helps, but {skill} is what matters.",
    "We have a clear idea of the goal and an open mind about the way.",
    "We expect somebody who asks before guessing.",
)
TERMS: Final = (
    "We think of {weeks} weeks, and the start is flexible.",
    "There is a fixed price, paid in two parts, half of it at the middle.",
    "We answer questions within a day, on weekdays.",
    "Working hours are yours to choose, as long as we overlap for two of them.",
    "A short call before the start is welcome, afterwards we prefer writing.",
    "If it goes well there is more to do in the following {weeks} months.",
)
CLOSINGS: Final = (
    "Please tell us about something similar that you have done.",
    "Begin your letter with what you would do first.",
    "Tell us what you think is missing in this description.",
    "A link to earlier work says more than a long letter.",
    "We decide by the end of next week.",
    "We read every bid and answer all of them.",
)

GREETINGS: Final = (
    "Hello,", "Good day,", "Dear client,", "Hi there,", "Good morning,", "Greetings,",
)  # fmt: skip
EXPERIENCE: Final = (
    "I have worked with {skill} for {years} years, most recently on a {thing} much like yours.",
    "your {thing} caught my eye because I finished a similar one {weeks} weeks ago.",
    "{skill} is what I do all day, and a {thing} is the kind of work I like best.",
    "I have read your description twice and think I understand what you are after.",
    "in the last {years} years I have built more than one {thing} with {skill}.",
    "I have taken over projects like this one before and brought each of them to an end.",
)
APPROACHES: Final = (
    "I would begin with a day of reading and come back with questions and a plan.",
    "First I would secure what works today, then change it in small steps.",
    "My proposal is a first version after a third of the time, so that you can steer.",
    "I would split the work into parts that are each useful by themselves.",
    "Before anything else I would agree with you on how we will know that it is done.",
    "I suggest to measure first, since the slow part is rarely where one expects it.",
    "You would see progress every second day and could stop at any time.",
)
OFFERS: Final = (
    "The price is fixed and includes one round of changes.",
    "I could start on Monday.",
    "Is there a test environment that I may use?",
    "I am happy to show you earlier work in a call.",
    "References from three clients are available.",
    "The number of days is a careful estimate; I have kept the last twelve of them.",
    "May I ask who takes care of it afterwards?",
)
SIGNATURES: Final = (
    "Kind regards", "Best wishes", "Looking forward to your answer", "Many thanks", "Yours",
)  # fmt: skip

BIOS: Final = (
    "I help {industry} and others like it with {skill} and {other}.",
    "For {years} years I have worked as a {trade}, the last of them on my own.",
    "Most of my clients come back, which is the best reference I can think of.",
    "I write down what we agree on, and I say early when something takes longer.",
    "Before that I was employed at {industry}, where I learned to finish things.",
    "On good days my work isn't noticed at all, because everything simply runs.",
    "I work from home and am used to teams spread over many time zones.",
    "My special interest is {other}, and I give a course on it once a year.",
)
HEADLINES: Final = (
    "{skill} specialist, {years} years of practice",
    "Senior {trade} for {skill} and {other}",
    "{skill}, {other}, and plain words",
    "Independent {trade}",
    "{trade}: {skill} on time",
)
